"""Tests about the project itself: version, locks, documents, sources, what is in the repository."""
