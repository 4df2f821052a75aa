-- The newest digest of a sink that is done with, empty: none.
SELECT max(alert) FROM deliveries FINAL WHERE sink = {sink:String} AND startsWith(alert, 'digest-') AND status IN ('delivered', 'gave_up')
