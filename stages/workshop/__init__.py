"""What is the same for every stage, and is not the lesson."""
