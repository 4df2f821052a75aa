SELECT site, name, since, series,
    arraySlice(series, -toInt32((window_end - window_start) / 3600)) AS recent,
    arrayMap((v, i) -> v >= 0 AND length({upper:Array(Float64)}) >= i AND (v > {upper:Array(Float64)}[i] OR v < {lower:Array(Float64)}[i]), recent, arrayEnumerate(recent)) AS beyond,
    arrayCount(x -> x, beyond) / length(recent) AS outside,
    least(1, arrayMax(arrayMap((v, b, i) -> if(b, greatest(log1p(v) - log1p({upper:Array(Float64)}[i]), log1p({lower:Array(Float64)}[i]) - log1p(v)), 0.), recent, beyond, arrayEnumerate(recent))) / log(4)) AS distance
FROM lines
WHERE length(series) > length(recent) AND ({name:String} != '' OR arrayAvg(arrayFilter(x -> x >= 0, series)) >= {min_bytes:UInt64} OR arrayMax(recent) >= {min_bytes:UInt64})
ORDER BY site, name
LIMIT 5000
