WITH
    (SELECT min(stored) FROM batches WHERE stored > {until:DateTime64(3, 'UTC')}) AS began,
    (SELECT max(stored) FROM batches WHERE stored > {until:DateTime64(3, 'UTC')}) AS newest,
    began + toIntervalSecond({step:UInt32}) AS upto
SELECT if(began = toDateTime64(0, 3, 'UTC'), 0, count()), began, max(stored), newest, min(received), max(received),
       arraySort(groupUniqArrayArray(arrayMap(d -> toYYYYMMDD(d), days)))
FROM batches
WHERE stored > {from:DateTime64(3, 'UTC')} AND stored <= upto AND status = 'stored'
