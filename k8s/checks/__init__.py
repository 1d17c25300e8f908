"""What `make k8s-validate` runs: every build, against schemas, rules of ours and checkov."""
