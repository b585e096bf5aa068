"""Stock algorithms of SB3 and sb3-contrib, unmodified, with our networks and replay buffer."""
