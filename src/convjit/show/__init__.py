"""What a user sees: tables and progress on the console."""
