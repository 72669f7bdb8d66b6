"""What a product in Zope does with uploads; loaded by the instances of the tests, and never by pytest."""
