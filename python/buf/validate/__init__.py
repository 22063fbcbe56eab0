"""Generated from third_party/protovalidate by `make proto`."""
