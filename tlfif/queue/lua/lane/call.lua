-- Claims the right to call the lane, for whoever was left without a node. ARGV: token, ms after
-- which a silent worker has let its jobs go, TTL in s, how many calls in a row may be in vain, TTL
-- of the failure in s. Returns 1, or 0.
if lane_phase() or not lane_is_wanted(ARGV[2]) then return 0 end
return claim_lane(ARGV[1], ARGV[3], ARGV[4], ARGV[5])
