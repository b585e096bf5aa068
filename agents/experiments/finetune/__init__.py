"""The benefit of pre-training for fine-tuning: its trainings, measures and picture."""
