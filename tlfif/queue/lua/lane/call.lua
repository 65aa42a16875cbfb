-- Claims the right to call the lane, for whoever is to in any case. ARGV: token, TTL in s, calls in
-- a row that may be in vain, TTL of the failure in s. Returns 1, or 0.
return claim_lane(ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4])
