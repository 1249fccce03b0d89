# To be sourced.

# Runs a command up to three times: registries and package mirrors have bad moments.
retry() {
  local try
  for try in 1 2 3; do
    "$@" && return 0
    printf 'try %s of 3 failed: %s\n' "$try" "$*" >&2
    sleep $((try * 3))
  done
  return 1
}
