"""Uploads in Azure Blob Storage: the store of S3, in the words of Azure."""
