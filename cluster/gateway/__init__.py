"""The gRPC edge. Protobuf stops at `convert`; nothing behind it imports generated code."""
