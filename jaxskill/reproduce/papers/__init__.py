"""One file a paper: its tables and figures (`ENTRIES`), and what it claims (`CLAIMS`), see `entries`."""
