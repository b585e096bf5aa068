"""Parts of every training: optimiser steps, precision, processes, signals, checks for NaN and infinity."""
