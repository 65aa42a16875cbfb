"""`make bake`: an image of the nodes, baked by the stack's pipeline and published for them."""
