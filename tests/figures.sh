# The figures that tests count: to be sourced.
# shellcheck shell=bash

# print_figures LOG BEGUN
#
# Prints each line of figures that stands in a log of tests, which began when $SECONDS was BEGUN.
print_figures() {
  echo
  echo "tests: figures counted by the tests above, after $((SECONDS - $2)) s"
  grep -E '^[a-z][a-z ,_]*: [a-z_]+=' "$1" | sort -u || true
}
