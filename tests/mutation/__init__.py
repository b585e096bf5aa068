"""Mutation testing of the method's core: small changes of its code, each of which a test has to notice."""
