"""The queue worker of a GPU node: takes jobs, streams the model's answers to S3, and stops its own
machine.
"""
