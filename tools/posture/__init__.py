"""What checkov finds in the stacks as Terraform plans them, held against what we decided on."""
