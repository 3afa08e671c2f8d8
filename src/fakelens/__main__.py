"""`python -m fakelens`."""

from fakelens.cli import main

main()
