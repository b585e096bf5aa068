"""Studies of one question each: their arms, runs, measures and reports."""
