-- The weight of a case at a moment: alerts by severity and confidence, less with
-- each hour since their last traffic, each detector up to its cap; where the
-- entity is the victim they weigh half.
SELECT sum(bounded) AS weight, toFloat64(length(arrayDistinct(arrayFlatten(groupArray(steps))))) AS tactics,
    arraySort(arrayFlatten(groupArray(events))) AS timeline
FROM
(
    SELECT detector,
        least({cap:Float64}, sum(transform(toString(severity), {severities:Array(String)}, {weights:Array(Float64)}, 0.)
            * confidence * if(actor = {entity:String}, 1., 0.5)
            * exp(-{decay:Float64} * greatest(0., (toFloat64({at:Float64}) - toUnixTimestamp64Nano(end) / 1e9) / 3600)))) AS bounded,
        groupArray(transform(splitByChar('.', techniques[1])[1], {techniques:Array(String)}, {tactics:Array(String)}, '')) AS steps,
        groupArray((start, detector, title)) AS events
    FROM alerts FINAL
    WHERE id IN {ids:Array(String)}
    GROUP BY detector
)
HAVING count() > 0
