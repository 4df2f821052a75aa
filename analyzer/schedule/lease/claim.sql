INSERT INTO leases (name, term, beat, holder, until)
SELECT {name:String}, {term:UInt64}, {beat:UInt64}, {holder:String}, addMilliseconds(now64(3, 'UTC'), {length:Int64})
