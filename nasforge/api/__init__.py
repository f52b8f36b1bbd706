"""What `import nasforge` offers; each name is imported when it is first used."""
