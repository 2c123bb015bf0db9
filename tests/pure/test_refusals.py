"""What the words of a 400, 413 or 422 blame: the recording only where they say something of this very file."""

import pytest

from watcher.journey.submit.refusals import Blamed, whom_blames

OF_THE_FILE = """
The uploaded file format is not supported.
The uploaded file exceeds the maximum allowed size of 50MB.
The audio field must be a file of type: mp3, wav.
The given data was invalid. The audio field must be a file of type: mp3, wav.
The audio field must have one of the following extensions: mp3, wav.
The audio must not be greater than 15000 kilobytes.
The audio field must not be greater than 15000 kilobytes.
The audio may not be greater than 51200 kilobytes.
The audio field must be at least 1 kilobytes.
The audio field must be between 1 and 15000 kilobytes.
Unsupported audio format
Unsupported codec: opus in MP4.
The codec pcm_alaw is not supported.
Audio codec not supported
Unsupported sample rate.
Invalid file format
Invalid audio file.
Unknown file type.
bad format
Unrecognized audio format.
The format of the file is invalid.
Could not determine the audio format.
Only MP3 and WAV files are supported.
Supported formats: mp3, wav, ogg.
This is not a valid audio file.
The file is not an audio file.
This file isn\u2019t supported.
The file is corrupt.
The audio file appears to be corrupted.
Corrupted audio file
The uploaded file is damaged.
Your recording is damaged and cannot be decoded.
The audio could not be decoded.
Unable to decode the audio file.
Failed to decode audio
The file cannot be parsed.
The file cannot be read.
Could not read the audio file.
No speech was found.
NO SPEECH DETECTED
No voice could be detected in the recording
The file contains no audio.
The file has no audio track: no audio stream found.
The recording does not contain any speech.
The file is empty.
The audio file is empty or corrupt.
The recording is silent.
File too large.
The size of the file exceeds the maximum.
The file size exceeds the maximum of 15 MB.
File exceeds 15 MB.
Maximum file size exceeded.
File size limit exceeded.
The audio is too long.
The audio duration is too short
Audio too short: at least 3 seconds are needed.
The recording must be at least 3 seconds long.
The audio is shorter than 3 seconds.
"""

OF_CREDIT = """
You do not have enough credits to perform this operation.
No credit for this audio file: it could not be decoded.
Insufficient balance
No funds left for audio analysis.
Payment required: the file is too large.
Billing problem
Monthly QUOTA exceeded
Your plan does not include audio files.
The file was not processed: out of credit.
Unsupported plan for audio files.
Your subscription has ended.
"""

OF_OTHERS = """
Audio processing is temporarily suspended.
Your trial has expired: audio classification is no longer available.
Monthly audio limit reached.
Daily limit of audio classifications exceeded.
You have reached the maximum number of audio files this month.
Only 10 audio files are allowed at the same time.
Too many audio files are being processed, please wait.
Maximum number of files exceeded.
Maximum audio minutes exceeded.
Maximum audio duration for this month exceeded.
The file exceeds your remaining minutes.
You exceeded your audio allowance.
Your audio allowance is used up.
Your audio package is exhausted.
Your wallet has no audio minutes.
No audio minutes left.
No audio units left on your contract.
Not enough audio minutes.
Insufficient audio tokens.
The audio queue is full
The audio backlog is too large.
The audio model is being updated.
The audio model is invalid.
Audio format detection is temporarily unavailable.
Audio classification failed, please retry.
Audio storage unavailable
The file storage is full.
Could not store the file.
Unable to save file: no space left on device
The file could not be stored on our side.
The file could not be read from storage.
Internal error while processing the file
The audio service is unavailable.
The media endpoint is deprecated, use v2
The file is valid, and could not be queued.
Invalid token for audio endpoint
Too many audio files
Too many audio files in this batch.
Too many files.
The maximum number of audio files is reached.
You already have 5 audio files in progress at the same time.
Only one audio file at a time.
Upload limit for audio files reached, the file was not accepted
The audio file is too long for what is left of this month.
We are at capacity: audio files are not accepted.
Server is overloaded
The file could not be decoded: decoder service timed out
"""

OF_NOBODY = """
The audio field is required.
The audio field is invalid.
The given data was invalid. The audio failed to upload.
Your organization has no license for audio analysis.
Audio analysis is not enabled for your organization.
Audio files are not supported for your organization.
This audio format is not supported for your organization.
Your organization is disabled.
Audio classification is disabled for your workspace.
You are not allowed to use audio classification.
Your account has no access to audio analysis.
Audio access has been suspended
Audio uploads are blocked for your country.
Audio detection is not available in your region.
Audio files are not supported.
Invoice overdue: audio analysis suspended.
Trial ended.
Please upgrade.
Please upgrade: this file is too long for a trial.
The file is too large for your tier.
The file exceeds the maximum size of your plan
No speech detection licence found.
Audio processing took too long.
The file could not be opened.
Failed to read file
The file system is read-only.
File not found
Error processing file
Unsupported version
The media type of the request is not supported.
The signature cannot be decoded.
Invalid audio parameter.
Unknown format parameter.
The ref id is too long for this audio.
The webhook url field must be a valid URL.
The no_cache field must be true or false.
The content exceeds the maximum allowed size.
413 Request Entity Too Large nginx/1.24.0
413 Content Too Large
413 Payload Too Large. The request is larger than the server accepts; choose a smaller file.
The POST data is too large.
http: request body too large
The request could not be processed.
Bad Request
Der Tarif erlaubt keine weiteren Audio-Dateien.
Das Audio-Kontingent ist erschöpft.
Das Dateiformat wird nicht unterstützt.
Ihr Guthaben reicht nicht aus.
Votre abonnement ne permet pas cette analyse audio.
Le fichier audio n'a pas pu être enregistré.
planet
"""


def lines(text: str) -> list[str]:
    return text.strip().splitlines()


@pytest.mark.parametrize("words", lines(OF_THE_FILE))
def test_what_is_said_of_this_very_file_convicts_it(words: str) -> None:
    """Its format, what is in it, or its measures: converting or cutting it is what helps."""
    assert whom_blames(words) is Blamed.FILE


@pytest.mark.parametrize("words", lines(OF_CREDIT))
def test_want_of_credit_is_the_accounts(words: str) -> None:
    """In any words that speak of it, even beside a file."""
    assert whom_blames(words) is Blamed.CREDIT


@pytest.mark.parametrize("words", lines(OF_OTHERS))
def test_what_is_used_up_or_out_of_order_at_the_moment_is_never_a_file_s_fault(words: str) -> None:
    """A limit to many files, and whatever the service cannot do now: said twice of one file, it is so still."""
    assert whom_blames(words) is Blamed.OTHERS


@pytest.mark.parametrize("words", [*lines(OF_NOBODY), ""])
def test_all_other_words_blame_nobody(words: str) -> None:
    """What limits, suspends, licenses or stores is no file's fault, though "audio" or "file" is in its words."""
    assert whom_blames(words) is Blamed.NOBODY


@pytest.mark.parametrize("beside", ["for your organization", "this month", "in your trial", "on our side"])
@pytest.mark.parametrize("words", lines(OF_THE_FILE))
def test_what_else_is_said_beside_a_file_saves_it(words: str, beside: str) -> None:
    """The clearest words of a file blame it no longer where the account or the service is in them too."""
    is_of_the_moment = beside in ("this month", "on our side")
    expected = Blamed.OTHERS if is_of_the_moment else Blamed.NOBODY
    assert whom_blames(f"{words.rstrip('.')} {beside}.") is expected


def test_an_answer_of_any_words_is_judged_soon() -> None:
    """No text makes the search go through all combinations of its words."""
    for word in ("audio ", "audio file ", "file data ", "is ", "media file audio ", "format a ", "no audio was "):
        assert whom_blames(word * 2_000) is Blamed.NOBODY
