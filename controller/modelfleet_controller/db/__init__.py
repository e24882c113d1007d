"""The database: connections, transactions, schema and its history. SQL of the nouns is in their
repositories.
"""
