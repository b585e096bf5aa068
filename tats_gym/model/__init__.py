"""The video masked autoencoder and its parts."""
