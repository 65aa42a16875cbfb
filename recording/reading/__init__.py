"""A stack's file, read as Pulumi's CLI reads it, and refused in one line where it cannot be."""
