"""The program's resources, made in the local cloud."""
