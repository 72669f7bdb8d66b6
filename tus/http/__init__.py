"""HTTP as values: requests, responses, header fields, ranges. No socket, no framework, no deed."""
