"""What each technique does to real tasks, certified on their test splits."""
