"""A browser before the console, and an API and a Cognito that answer by script."""
