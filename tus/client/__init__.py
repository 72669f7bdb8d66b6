"""What sends files: an HTTP client that hears early answers, and uploads that resume. It uses nothing of the server."""
