"""CloudWatch, SNS and Budgets: what is counted, who hears of it, and what the account has cost."""
