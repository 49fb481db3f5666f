import { campaign } from '../harness/campaign.ts';

campaign('followed-2');
