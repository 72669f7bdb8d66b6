"""What an add-on of Plone does with uploads; loaded by the instances of the tests, and never by pytest."""
