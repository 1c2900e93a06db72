"""`python -m generator`: drives load and reports what was acknowledged.

profiles    how much, how fast, how bad                  frozen
schedule    when each message is due                     pure
flaws       ways for a message to be wrong               pure
events      seed -> messages                             pure
file_rows   seed -> the rows of a file to upload         pure
files       writes such a file in one pass
batcher     when a producer batch goes out               time is an argument
link        one Kafka producer, bounded, rebuilt when it breaks
tally       counts from several threads -> one report
uploads     the thread that sends files
cutting     a client that dies in the middle of a file
drive       the threads: `run(settings)`
report      what a person or a program reads at the end
"""
