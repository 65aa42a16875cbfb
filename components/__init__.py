"""The Pulumi components: what the stack is made of, one file each."""
