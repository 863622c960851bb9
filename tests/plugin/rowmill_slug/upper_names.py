"""The processor ``upper_names``."""

import pyarrow as pa

from rowmill.spec.processor import RowProcessor


class UpperNames(RowProcessor):
    """Writes the names of columns in capitals, after a prefix."""

    processor_type: str = "upper_names"
    prefix: str = ""

    def process(self, rows: pa.Table) -> pa.Table:
        """A row for each row."""
        return rows.rename_columns([self.prefix + name.upper() for name in rows.column_names])
