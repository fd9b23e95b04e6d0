"""Stage `openings`: a teacher writes the first messages of dialogues, by UltraChat's sectors and by growth."""
