"""Stock algorithms of SB3 and sb3-contrib, unmodified, with the networks and the replay buffer that they are given."""
