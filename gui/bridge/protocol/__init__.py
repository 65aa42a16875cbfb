"""OpenAI's side: requests read, completions and event streams rendered."""
