"""AWS Lambda: functions from their bundles under AWS's own runtime client."""
