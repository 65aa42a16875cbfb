"""A resource provider for Pulumi's engine in place of AWS's: it deploys into the local cloud."""
