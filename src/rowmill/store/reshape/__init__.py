"""What changes rows that were finished: barriers, reopening, regeneration, and another spec."""
