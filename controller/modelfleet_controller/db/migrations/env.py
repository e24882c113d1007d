"""Alembic's entry: runs on the connection that `db.upgrade` hands over; there is no alembic.ini and no
command line.
"""

from __future__ import annotations

from alembic import context

from modelfleet_controller.db.schema import complete

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=complete(),
    render_as_batch=True,
    compare_type=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
