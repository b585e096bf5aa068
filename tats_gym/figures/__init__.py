"""Pictures of masks, still and moving."""
