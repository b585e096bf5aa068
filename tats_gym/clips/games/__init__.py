"""Videos of play: any Gymnasium environment, recorded; the Atari games as a dataset, with the console's memory."""
