"""The benchmark of masks: tasks that are the same for every method, results in files, and the leaderboard's page."""
